"""`python -m jaxem.cli`."""

import sys

from jaxem.cli import main

sys.exit(main())
