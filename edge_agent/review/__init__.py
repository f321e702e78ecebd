"""The review page: people on the plant's LAN label kept pictures in a browser. A thin front of the evidence room."""
