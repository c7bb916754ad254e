"""`python -m handwriting`: hands over to `cli.py`."""

import sys

from handwriting.cli import main

sys.exit(main())
