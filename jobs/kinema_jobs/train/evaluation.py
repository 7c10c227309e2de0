"""`python -m kinema_jobs.train.evaluation`: the name by which operators start an evaluator, kept for every version.

An operator starts the image of the attempt, which may be older or newer than itself.
"""

import sys

from kinema_jobs.evaluate.pod import main

if __name__ == "__main__":
    sys.exit(main())
