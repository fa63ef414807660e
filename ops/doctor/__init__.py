"""What is wrong, in words, and what to do: the checks behind `memlane doctor`."""

from ops.doctor.examination import examine
from ops.doctor.finding import Finding

__all__ = ["Finding", "examine"]
