"""Acting: rules, plan, alarms and orders at work, put together by `autonomy`."""
