"""`python -m robust_lib.audit FOLDER`: models and tables to try the audit on (see `audit.example`)."""

from robust_lib.audit import example

if __name__ == "__main__":
    example.main()
