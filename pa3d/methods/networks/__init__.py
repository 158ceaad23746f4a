"""The networks of the methods, loaded from files that the user has. torch is imported only when one is made."""
