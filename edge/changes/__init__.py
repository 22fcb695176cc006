"""What technicians change in the list of devices: the changes, and the versions of them that are kept."""
