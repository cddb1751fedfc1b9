"""What is drawn of a study, as plain data: axes, series and what they stand for; no rich, no matplotlib."""
