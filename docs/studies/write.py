"""Write what is stored of a claim as a page and its figures.

python docs/studies/write.py runs/ghost-mechanism docs/studies
"""

import sys
from pathlib import Path

from neoteny import claims, store
from neoteny.claims import page

if __name__ == "__main__":
    connection = store.connect(sys.argv[1], spectra=False)
    for name in claims.stored(connection):
        for path in page.write_markdown(
            page.measured(connection, claims.load(name)), Path(sys.argv[2])
        ):
            print(path)
