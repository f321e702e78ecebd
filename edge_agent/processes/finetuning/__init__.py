"""The finetune process: trains the encoder on this gateway's labelled pictures, at night or when a person says so.

    labels, clock, request --due--> order --jobs--> job folder --models/finetune child--> bundle
    bundle --candidate--> statistics rebuilt, head solved --handed over--> learn process: the gate, then a trial

It loads no torch: its child does. It never sees the sealed hold-out: the gate sits in the learn process.
"""
