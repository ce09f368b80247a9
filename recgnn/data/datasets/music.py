"""Last.fm: who listens to whom, in three collections."""

from __future__ import annotations

from recgnn.data.datasets.tables import PublicTable, TableFile
from recgnn.data.interactions.log import ITEM, TIMESTAMP, USER, WEIGHT


class LastFM2K(PublicTable):
    """HetRec 2011 Last.fm: how often 1,892 users listened to 17,632 artists; the counts are the rows' weights.

    Cantador et al., HetRec 2011, https://doi.org/10.1145/2043932.2044016. For research.

    Args:
        root: A folder with `user_artists.dat` (`artists.dat`), or `hetrec2011-lastfm-2k.zip`; None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "hetrec2011-lastfm-2k"
    counts = {"interactions": 92_834}
    urls = ("https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",)
    log = (TableFile("user_artists.dat", {USER: "userID", ITEM: "artistID", WEIGHT: "weight"}, separator="\t"),)
    items = TableFile("artists.dat", {ITEM: "id"}, separator="\t", quotes=False, kept=("id", "name"))
    title = "name"


class LastFM360K(PublicTable):
    """Last.fm 360K: how often 360,000 users listened to artists, by name; the counts are the rows' weights.

    Celma, Music Recommendation and Discovery in the Long Tail, 2010. For research. It cannot be downloaded by itself.

    Args:
        root: A folder with `usersha1-artmbid-artname-plays.tsv` (`usersha1-profile.tsv`).
        cache_dir: Not used.
    """

    name = "lastfm-dataset-360K"
    log = (
        TableFile(
            "usersha1-artmbid-artname-plays.tsv",
            {USER: USER, ITEM: "artist", WEIGHT: "plays"},
            (USER, "mbid", "artist", "plays"),
            "\t",
            quotes=False,
            on_bad_rows="drop",
        ),
    )
    users = TableFile(
        "usersha1-profile.tsv", {USER: USER}, (USER, "gender", "age", "country", "signup"), "\t", quotes=False
    )


class LastFM1K(PublicTable):
    """Last.fm 1K: every song that 992 users played, with times; the items are the artists.

    Celma, Music Recommendation and Discovery in the Long Tail, 2010. For research. It cannot be downloaded by itself.
    A user plays an artist many times: see `repeats` of the data module.

    Args:
        root: A folder with `userid-timestamp-artid-artname-traid-traname.tsv`.
        cache_dir: Not used.
    """

    name = "lastfm-dataset-1K"
    log = (
        TableFile(
            "userid-timestamp-artid-artname-traid-traname.tsv",
            {USER: USER, ITEM: "artist", TIMESTAMP: TIMESTAMP},
            (USER, TIMESTAMP, "mbid", "artist", "track_id", "track"),
            "\t",
            quotes=False,
            on_bad_rows="drop",
        ),
    )
