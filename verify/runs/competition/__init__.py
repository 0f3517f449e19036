"""VNN-LIB instances and families of the verification competition, and the audit of other tools' results."""
