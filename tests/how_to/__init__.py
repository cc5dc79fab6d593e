"""The code blocks of docs/HOW_TO.md and docs/TASK_LIBRARIES.md, as their readers run them."""
