"""How well a fitted model describes its data: tables of patterns, classes, distribution functions, residuals."""

from jaxem.goodness._classes import Classification as Classification
from jaxem.goodness._classes import classification as classification
from jaxem.goodness._classes import classification_error as classification_error
from jaxem.goodness._classes import entropy_r2 as entropy_r2
from jaxem.goodness._distribution import cdf as cdf
from jaxem.goodness._distribution import density as density
from jaxem.goodness._distribution import quantile as quantile
from jaxem.goodness._factors import FactorFit as FactorFit
from jaxem.goodness._factors import factor_fit as factor_fit
from jaxem.goodness._lo_mendell_rubin import LoMendellRubin as LoMendellRubin
from jaxem.goodness._lo_mendell_rubin import lo_mendell_rubin as lo_mendell_rubin
from jaxem.goodness._pairs import bivariate_residuals as bivariate_residuals
from jaxem.goodness._qq import QQ as QQ
from jaxem.goodness._qq import qq as qq
from jaxem.goodness._residuals import PseudoResiduals as PseudoResiduals
from jaxem.goodness._residuals import pseudo_residuals as pseudo_residuals
from jaxem.goodness._rootogram import Rootogram as Rootogram
from jaxem.goodness._rootogram import rootogram as rootogram
from jaxem.goodness._table import TableFit as TableFit
from jaxem.goodness._table import TableTest as TableTest
from jaxem.goodness._table import table_fit as table_fit
from jaxem.goodness._table import table_test as table_test
