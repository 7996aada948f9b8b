"""Foreign folders, checked from their headers before anything is allocated."""
