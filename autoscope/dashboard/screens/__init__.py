"""The screens of the dashboard, one a file."""
