"""Names to verified weights, backbones that many predictors share, and adapters on them."""

import logging

# PEFT imports it where it is installed, and it tells everybody about kernels that it did not find.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
