"""Any folder of video clips."""
