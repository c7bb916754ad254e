"""`python -m handwriting`: hands over to `cli`."""

import sys

from handwriting.cli import main

sys.exit(main())
