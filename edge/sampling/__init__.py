"""From drivers to samples: lines, polls, intake, and what each device said last."""
