"""`python -m kinema_operator`."""

import sys

from kinema_operator.main import main

sys.exit(main())
