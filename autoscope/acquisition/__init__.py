"""How much a measurement is worth, and which to take: functions over finite pools of candidates."""
