"""What must survive a crash: the records, the file they are in, and how they become the desk's state again."""
