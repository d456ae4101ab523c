"""Process: what Linux tells of a running process under /proc.  Does not know what the process is for."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # a second


@dataclass(frozen=True)
class Process:
    pid: int

    def children(self) -> list["Process"]:
        return [Process(int(pid)) for pid in self._read("task", str(self.pid), "children").split()]

    def memory_kib(self) -> int:
        """PSS: pages shared with other processes count by their share."""
        lines = self._read("smaps_rollup").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    def cpu_s(self) -> float:
        """User and system time of all its threads so far."""
        fields = self._read("stat").rpartition(")")[2].split()  # the name before it may have spaces
        return (int(fields[11]) + int(fields[12])) / TICKS

    def open_files(self) -> int:
        return len(list((self._path / "fd").iterdir()))

    @property
    def _path(self) -> Path:
        return Path("/proc") / str(self.pid)

    def _read(self, *name: str) -> str:
        return self._path.joinpath(*name).read_text()
