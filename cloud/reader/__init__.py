"""Reader processes: questions and feeds answered beside the one process that writes."""
