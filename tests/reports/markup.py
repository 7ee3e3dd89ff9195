"""A strict reader of HTML: what browsers would mend in silence is an error here."""

import html.entities
import html.parser
import re

# https://html.spec.whatwg.org/multipage/syntax.html#void-elements
VOID = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
# Elements that may stand in few others, and what may stand in some.
PARENTS = {
  "caption": {"table"},
  "dd": {"dl"},
  "dt": {"dl"},
  "figcaption": {"figure"},
  "li": {"ol", "ul"},
  "tbody": {"table"},
  "td": {"tr"},
  "th": {"tr"},
  "thead": {"table"},
  "tr": {"tbody", "thead"},
}
CHILDREN = {
  "dl": {"dt", "dd"},
  "ol": {"li"},
  "table": {"caption", "thead", "tbody"},
  "tbody": {"tr"},
  "thead": {"tr"},
  "tr": {"td", "th"},
  "ul": {"li"},
}
PHRASES = {"a", "bdi", "img", "line", "polyline", "span", "strong", "svg", "text"}
ONLY_PHRASES = {"a", "bdi", "h1", "h2", "h3", "p", "pre", "span", "strong"}
KNOWN = PHRASES | ONLY_PHRASES | VOID | PARENTS.keys() | CHILDREN.keys() | {
  "body", "div", "figure", "head", "header", "html", "main", "nav", "section", "style", "title",
}  # fmt: skip


class Page(html.parser.HTMLParser):
  """A page's elements and texts; `problems` must be empty.

  elements: (tag, attributes) in order. texts: what is between tags, entities resolved.
  """

  def __init__(self, text: str):
    super().__init__(convert_charrefs=False)
    self.problems, self.elements, self.texts = [], [], []
    self._open, self._declared = [], None
    self.feed(text)
    self.close()
    self._complain(self._open, "not closed")
    if not text.startswith("<!DOCTYPE html>") or self._declared != "DOCTYPE html":
      self.problems.append("no DOCTYPE html at the start")
    self._check_whole()

  def handle_decl(self, decl):
    self._declared = decl

  def handle_starttag(self, tag, attributes):
    parent = self._open[-1] if self._open else None
    names = [name for name, _ in attributes]
    self._complain(tag not in KNOWN and tag, "unknown element")
    self._complain(len(set(names)) < len(names) and tag, "an attribute twice")
    self._complain(parent not in PARENTS.get(tag, {parent}) and (tag, parent), "stands in")
    self._complain(tag not in CHILDREN.get(parent, {tag}) and (tag, parent), "stands in")
    self._complain(parent in ONLY_PHRASES and tag not in PHRASES and (tag, parent), "stands in")
    self.elements.append((tag, dict(attributes)))
    if tag not in VOID:
      self._open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.problems.append(f"<{tag}/> is no HTML")

  def handle_endtag(self, tag):
    self._complain(tag in VOID and tag, "has no end tag")
    if self._open and self._open[-1] == tag:
      self._open.pop()
    else:
      self.problems.append(f"{self.getpos()}: </{tag}> within {self._open[-2:]}")

  def handle_data(self, data):
    self.texts.append(data)
    inside = self._open[-1] if self._open else None
    self._complain(inside != "style" and ("<" in data or "&" in data) and data, "unescaped")
    misplaced = data.strip() and inside in {None, "head", "html", *CHILDREN}
    self._complain(misplaced and (data, inside), "a text in")

  def handle_entityref(self, name):
    self._complain(f"{name};" not in html.entities.html5 and name, "no entity")
    self.texts.append(html.unescape(f"&{name};"))

  def handle_charref(self, name):
    self.texts.append(html.unescape(f"&#{name};"))

  def handle_comment(self, data):
    self.problems.append(f"a comment: {data[:40]}")

  def _complain(self, wrong, text):
    if wrong:
      self.problems.append(f"line {self.getpos()[0]}: {text}: {wrong}")

  def _check_whole(self):
    ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
    self._complain(len(set(ids)) < len(ids) and ids, "an id twice")
    tags = [tag for tag, _ in self.elements]
    for tag in ("html", "head", "title", "body", "main", "h1"):
      self._complain(tags.count(tag) != 1 and tag, "not once")
    for tag, attributes in self.elements:
      self._complain(tag == "img" and not attributes.get("alt"), "img without alt")
      self._complain(
        any(name.startswith("on") or name == "style" for name in attributes) and tag, "a handler"
      )
      for name in attributes.keys() & {"src", "href", "srcset", "action", "data", "poster"}:
        target = attributes[name]
        inside = target.startswith("data:") or (target.startswith("#") and target[1:] in ids)
        self._complain(not inside and target[:80], "points outside")
    styles = "".join(self.texts)
    self._complain(re.search(r"@import|url\(", styles), "a style points outside")
