"""What a run reports: its last parameters, their average over the iterations, or the iterates as draws.

And what a search tells on its way, and of every start.
"""

from jaxem.record._record import AbstractRecord as AbstractRecord
from jaxem.record._record import Progress as Progress
from jaxem.record._record import Report as Report
from jaxem.record._record import Restarts as Restarts
from jaxem.record._record import StreamProgress as StreamProgress
from jaxem.record.average import Average as Average
from jaxem.record.draws import Draws as Draws
from jaxem.record.last import Last as Last
