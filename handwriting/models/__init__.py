"""Networks: those that write, the recurrence that they share, and one that draws lines."""
