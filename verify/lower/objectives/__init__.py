"""What attacks climb: functions of the rows of a specification whose large values mean a large violation."""
