"""implicit's alternating least squares, run by `simple_methods.py ials` in an environment that has the package.

    python implicit_ials.py pairs.npz factors.npz

pairs.npz has user, item, the sizes and the settings; factors.npz gets the factors of the Cholesky solver and those of
conjugate gradients, and CPU seconds of an iteration of each.
"""

from __future__ import annotations

import sys
import time

import implicit.cpu.als
import numpy as np
from scipy.sparse import csr_matrix

given = np.load(sys.argv[1])
size = (int(given["num_users"]), int(given["num_items"]))
matrix = csr_matrix((np.ones(len(given["user"]), dtype=np.float32), (given["user"], given["item"])), size)
found = {}
for name, use_cg in (("cholesky", False), ("cg", True)):
    model = implicit.cpu.als.AlternatingLeastSquares(
        factors=int(given["dim"]), regularization=float(given["l2"]), alpha=float(given["confidence"]),
        iterations=int(given["iterations"]), use_cg=use_cg, num_threads=1, random_state=0,
    )  # fmt: skip
    start = time.process_time()
    model.fit(matrix, show_progress=False)
    found[f"{name}_seconds"] = (time.process_time() - start) / model.iterations
    found[f"{name}_user"], found[f"{name}_item"] = model.user_factors, model.item_factors
np.savez(sys.argv[2], **found)
