"""What users see: records in, rich renderables out."""
