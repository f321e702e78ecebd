"""What plants and coordinator say to one another, and in which bytes: codecs, transfer, the session of a round."""
