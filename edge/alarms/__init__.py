"""Alarms: what someone must look at, as ISA-18.2 has it. `book` is the whole; the others are its parts. Pure."""
