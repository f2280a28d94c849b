"""The training stages, from files to files: pretrain, search, finetune.

Each reads its inputs, trains (or goes on with) its run, and writes its outputs at the end, whole
or not at all, the record last. A module each, so that an edit of one reruns no other.
"""
