"""Tasks: functions that are called by messages, with checked arguments and schedules."""
