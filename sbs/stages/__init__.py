"""The training stages: pretrain, search, finetune. They read files and write files.

Each stage trains its run, or resumes it. At the end it writes its outputs atomically; the record
comes last. Each stage is its own module, so an edit of one does not rerun the others.
"""
