"""Pages for people: how every transform stands, the runs of each, and how the exporter itself does."""
