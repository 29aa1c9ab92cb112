"""`make docs-reference`: writes the pages of docs/ that are generated from code (needs a live release)."""

from pathlib import Path

from cli.app import ontime
from docs.site import architecture, badges, cli_page, http_api_page, params_page, settings_page
from ontime.settings import load_settings
from serving.app import create_app


def main() -> None:
    pages = {
        **{f"architecture-{theme}.svg": architecture.svg(theme) for theme in architecture.COLOURS},
        **{f"badges/{name}": text for name, text in badges.badges(Path()).items()},
        "cli.md": cli_page.page(ontime, ontime.sections),
        "settings.md": settings_page.page(),
        "params.md": params_page.page(Path("params.yaml").read_text(encoding="utf-8")),
        "http-api.md": http_api_page.page(create_app(load_settings()).openapi()),
    }
    for name, text in pages.items():
        path = Path("docs", name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"docs-reference: {path}")


if __name__ == "__main__":
    main()
