# Estimates for the logger plugin `sbs`: the plan of a dry run, the progress of a real one.
from sbs import plan

plan.introduce(workflow, scale, settings_of)
