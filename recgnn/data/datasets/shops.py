"""Shops and reviews: Amazon, Taobao, Steam, Yelp, Book-Crossing."""

from __future__ import annotations

from pathlib import Path

from recgnn.data.datasets.base import Layout
from recgnn.data.datasets.tables import PublicTable, TableFile
from recgnn.data.interactions.log import ITEM, RATING, TIMESTAMP, USER, WEIGHT
from recgnn.data.readers.tables import open_table
from recgnn.data.readers.times import Written
from recgnn.errors import DataError
from recgnn.files import existing_file

_RATING = {USER: USER, ITEM: ITEM, RATING: RATING, TIMESTAMP: TIMESTAMP}
_JSON_2018 = {USER: "reviewerID", ITEM: "asin", RATING: "overall", TIMESTAMP: "unixReviewTime"}
_JSON_2023 = {USER: "user_id", ITEM: "parent_asin", RATING: "rating", TIMESTAMP: "timestamp"}


class AmazonReviews(PublicTable):
    """Reviews of one category of Amazon, of the collections of 2014, 2018 or 2023.

    McAuley et al., 2015, https://arxiv.org/abs/1506.04757; Ni et al., 2019, https://doi.org/10.18653/v1/D19-1018; Hou
    et al., 2024, https://arxiv.org/abs/2403.03952. It cannot be downloaded by itself.

    Args:
        path: One file: `ratings_Beauty.csv` of 2014 (user, item, rating, time, without header), `All_Beauty.csv` of
            2018 (item, user, rating, time, without header), `reviews_Beauty_5.json.gz` or `All_Beauty_5.json.gz` (JSON
            lines), or `All_Beauty.jsonl.gz` or `All_Beauty.csv` with a header of 2023.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        super().__init__(self.path.parent)
        self.name = "amazon-" + self.path.name.split(".")[0].removeprefix("ratings_").removeprefix("reviews_").lower()

    def layouts(self) -> list[Layout]:
        file = existing_file(self.path).name
        header = open_table(self.path).names
        for chosen in (_JSON_2018, _JSON_2023):
            if set(chosen.values()) <= set(header):
                return [((file,), self._reader(TableFile(file, chosen, kept=tuple(chosen.values()))))]
        if len(header) != 4:
            raise DataError(f"{self.path}: is no file of Amazon's reviews: its first line has {', '.join(header[:6])}")
        order = (USER, ITEM) if file.startswith("ratings_") else (ITEM, USER)
        return [((file,), self._reader(TableFile(file, _RATING, (*order, RATING, TIMESTAMP), ",")))]


class Taobao(PublicTable):
    """Taobao's UserBehavior: 100 million views (`pv`), carts, favourites (`fav`) and purchases (`buy`) in nine days.

    Zhu et al., Learning Tree-based Deep Model for Recommender Systems, 2018, https://arxiv.org/abs/1801.02294. It
    cannot be downloaded by itself. The columns `category` and `behavior` are context; a filter `Where("behavior ==
    'buy'")` keeps one kind.

    Args:
        root: A folder with `UserBehavior.csv`.
        cache_dir: Not used.
    """

    name = "taobao"
    written = Written(time_unit="s")  # a few of them are far off
    log = (
        TableFile(
            "UserBehavior.csv",
            {USER: USER, ITEM: ITEM, TIMESTAMP: TIMESTAMP},
            (USER, ITEM, "category", "behavior", TIMESTAMP),
            ",",
        ),
    )


class Steam(PublicTable):
    """Steam 200K: which games users bought (`purchase`) and for how many hours they played them (`play`).

    The hours (1 for a purchase) are the rows' weights, the column `behavior` tells the kind; a filter
    `Where("behavior == 'play'")` keeps one. It cannot be downloaded by itself.

    Args:
        root: A folder with `steam-200k.csv`.
        cache_dir: Not used.
    """

    name = "steam-200k"
    log = (
        TableFile(
            "steam-200k.csv",
            {USER: USER, ITEM: "game", WEIGHT: "hours"},
            (USER, "game", "behavior", "hours", "zero"),
            ",",
            kept=(USER, "game", "behavior", "hours"),
        ),
    )


class Yelp(PublicTable):
    """Yelp's open dataset: reviews of businesses, with stars and times, and the businesses' attributes.

    It cannot be downloaded by itself.

    Args:
        root: A folder with `yelp_academic_dataset_review.json` (`yelp_academic_dataset_business.json`).
        cache_dir: Not used.
    """

    name = "yelp"
    log = (
        TableFile(
            "yelp_academic_dataset_review.json",
            {USER: "user_id", ITEM: "business_id", RATING: "stars", TIMESTAMP: "date"},
            kept=("user_id", "business_id", "stars", "date"),
        ),
    )
    items = TableFile(
        "yelp_academic_dataset_business.json",
        {ITEM: "business_id"},
        kept=("business_id", "name", "city", "state", "categories"),
    )
    title = "name"


class BookCrossing(PublicTable):
    """Book-Crossing: ratings of books from 1 to 10, and 0 where a book was only registered.

    Ziegler et al., Improving Recommendation Lists Through Topic Diversification, 2005,
    https://doi.org/10.1145/1060745.1060754. It cannot be downloaded by itself. Predict ratings without the zeros: a
    filter `MinRating(1)`.

    Args:
        root: A folder with `BX-Book-Ratings.csv`, or with `Ratings.csv` (`Books.csv`).
        cache_dir: Not used.
    """

    name = "book-crossing"
    _chosen = {USER: "User-ID", ITEM: "ISBN", RATING: "Book-Rating"}
    log = (
        TableFile("BX-Book-Ratings.csv", _chosen, separator=";", encoding="latin-1", on_bad_rows="drop"),
        TableFile("Ratings.csv", _chosen, separator=","),
    )
    items = TableFile("Books.csv", {ITEM: "ISBN"}, separator=",", kept=("ISBN", "Book-Title", "Book-Author"))
    title = "Book-Title"
