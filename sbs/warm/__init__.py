"""Jobs in forks of one process that has imported everything.

Importing PyTorch takes about two seconds, as long as many a job at the default scale computes. So
the workflow starts one server (:mod:`sbs.warm.server`) when it begins. The command ``sbs`` then
asks it for a fork that runs the command in its place (:mod:`sbs.warm.client`), with the same
arguments, folder, environment and standard streams. Rules, logs, kills and reruns are as without
it. Where there is no server, or it is not the same program, the command runs by itself.

A command that trains first claims GPUs that no job beside it uses (:mod:`sbs.warm.gpus`). One for
several processes is replaced by torchrun (:mod:`sbs.warm.torchrun`), which starts it once for each.
"""
