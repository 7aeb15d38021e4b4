"""A watch on any training loop: is this network still able to learn, and if not, why not?"""

from neoteny.monitor.rules import RULES, Diagnosis, Rule, diagnose
from neoteny.monitor.watch import Monitor

__all__ = ["RULES", "Diagnosis", "Monitor", "Rule", "diagnose"]
