"""Sends with Segment's Python library."""

import sys

import segment.analytics as analytics

analytics.write_key = "token"
analytics.host = sys.argv[1]
analytics.sync_mode = True
analytics.max_retries = 1


def failed(error, _items):
    sys.exit(f"not taken: {error}")


analytics.on_error = failed
traits = {"email": "a@example.org", "firstName": "first", "lastName": "last", "plan": "pro"}
analytics.identify("segment-python", traits)
analytics.group("segment-python", "segment-python", {"name": "Acme", "employees": 3})
analytics.track("segment-python", "visit", {"page": "/"})
analytics.page("segment-python", "docs", "start")
analytics.flush()
