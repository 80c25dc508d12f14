"""One self-contained HTML file of a result, to be sent: no network, no server, no installation."""

from rambit.report.about import about
from rambit.report.documents import document_page
from rambit.report.gallery import Panel, gallery_page
from rambit.report.images import image_page
from rambit.report.page import About
from rambit.report.series import series_page
from rambit.report.tables import table_page

__all__ = ["About", "Panel", "about", "document_page", "gallery_page", "image_page", "series_page", "table_page"]
