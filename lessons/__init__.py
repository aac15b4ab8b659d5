"""The course: numbered scripts, and the kit they share."""
