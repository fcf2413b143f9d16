"""Pictures, tables and the page that a person reads."""
