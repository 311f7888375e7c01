"""A fit as a table to read: what it says of each member, with standard errors, intervals and sizes."""

from jaxem.information._summary._summary import Summary as Summary
from jaxem.information._summary._summary import summary as summary
