"""Both pages in headless Chromium: what is drawn, clicked, dragged and saved. The other files need no browser."""

import csv
import json
import threading
import time

import pytest

from tclr.pipeline.views.viewer import ViewerClips, ViewerServer

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESKTOP = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}


def wait(condition, what, limit_s=120):
    """Return the first true value of a condition. The limit is for a busy machine; an idle one takes a second."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)
    return value


def open_page(driver, url, *, dark=False, device=DESKTOP, scripts=True):
    for kind in ("browser", "performance"):
        driver.get_log(kind)  # forget what was before
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    driver.get(url)


def check_quiet(driver, origin):
    """No message on the console, no request to anywhere else."""
    assert driver.get_log("browser") == []
    events = [json.loads(line["message"])["message"] for line in driver.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert urls and all(url.startswith((origin, "data:", "blob:")) for url in urls)


def backgrounds(driver):
    return driver.execute_script("return getComputedStyle(document.body).backgroundColor")


def overflow_px(driver):
    return driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")


def draw_all(driver):
    """Scroll through the page; return how many plots there are and how many are drawn."""
    height = driver.execute_script("return document.documentElement.scrollHeight")
    for y in range(0, height, 600):
        driver.execute_script(f"scrollTo(0, {y})")
        time.sleep(0.02)
    counted = (
        "return ['.plot', '.plot .main-svg .xaxislayer-above'].map(name => document.querySelectorAll(name).length)"
    )
    wait(lambda: len(set(driver.execute_script(counted))) == 1, "all plots are drawn")
    return driver.execute_script(counted)


def test_report_draws_every_plot_and_asks_for_nothing(chromium, report):
    open_page(chromium, report.as_uri())
    assert draw_all(chromium) == [13, 13]
    check_quiet(chromium, report.as_uri())


def test_report_map_is_coloured_by_what_is_chosen(chromium, report):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    open_page(chromium, report.as_uri())
    chromium.execute_script("document.getElementById('map').scrollIntoView()")
    colours = "return [...new Set(document.getElementById('map').data?.[0].marker.color ?? [])]"
    wait(lambda: len(chromium.execute_script(colours)) == 2, "two subjects, two colours")
    Select(chromium.find_element(By.ID, "map-colour")).select_by_value("AU01")
    wait(lambda: len(chromium.execute_script(colours)) > 10, "shades of AU01")
    assert chromium.get_log("browser") == []


def test_report_plots_move_and_zoom_by_keys(chromium, report):
    from selenium.webdriver.common.keys import Keys

    open_page(chromium, report.as_uri())
    draw_all(chromium)

    def shown():
        return chromium.execute_script("return document.getElementById('training-1')._fullLayout.xaxis.range")

    plot = chromium.find_element("id", "training-1")
    assert plot.get_attribute("tabindex") == "0" and "plus and minus zoom" in plot.get_attribute("aria-label")
    start, end = shown()
    for key in ("+", Keys.ARROW_RIGHT):
        plot.send_keys(key)
    quarter = (end - start) / 4
    wait(lambda: shown() == pytest.approx([start + 1.2 * quarter, end - 0.8 * quarter]), "a nearer view, moved")
    assert chromium.find_element("id", "training-1-range").text.startswith("shown: ")
    plot.send_keys("0")
    wait(lambda: shown() == pytest.approx([start, end]), "the whole")
    bars = chromium.find_element("id", "co-occurrence-1")  # categories: nothing to move along
    assert bars.get_attribute("role") == "img" and bars.get_attribute("tabindex") is None


def test_report_is_dark_or_light_as_the_system_or_its_button_says_and_fits_a_phone(chromium, report):
    from selenium.webdriver.common.by import By

    open_page(chromium, report.as_uri(), dark=True, device=PHONE)
    draw_all(chromium)
    assert backgrounds(chromium) == "rgb(18, 24, 28)" and overflow_px(chromium) == 0
    text = "return document.querySelector('#detection-1 .xtick text').style.fill"
    assert chromium.execute_script(text) == "rgb(230, 236, 239)"
    chromium.execute_script("scrollTo(0, 0)")
    chromium.find_element(By.ID, "theme").click()
    assert chromium.find_element(By.ID, "theme").text == "Theme: light"
    assert backgrounds(chromium) == "rgb(255, 255, 255)"
    wait(lambda: chromium.execute_script(text) == "rgb(26, 36, 44)", "the plots follow")
    chromium.execute_script("localStorage.clear()")


def test_report_shows_summary_pictures_and_tables_without_scripts(chromium, report):
    from selenium.webdriver.common.by import By

    open_page(chromium, report.as_uri(), scripts=False)
    assert "The plots are not drawn" not in chromium.page_source
    assert "Without JavaScript the plots are not drawn" in chromium.find_element(By.TAG_NAME, "noscript").text
    images = chromium.find_elements(By.CSS_SELECTOR, "#worst img")
    assert len(images) == 12 and all(int(image.get_property("naturalWidth")) == 112 for image in images)
    table = chromium.find_element(By.CSS_SELECTOR, "#detection details")
    table.find_element(By.TAG_NAME, "summary").click()
    assert "F001 80 97.5%" in table.text
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def texts(driver, selector):
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
    )


def test_report_timeline_has_names_and_thresholds_where_there_is_room(chromium, report):
    for device, expected in ((DESKTOP, "AU01 Inner Brow Raiser, from 0.50"), (PHONE, "AU01")):
        open_page(chromium, report.as_uri(), device=device)
        draw_all(chromium)
        assert texts(chromium, "#timeline-1 .ytick text")[0] == expected
    shown = chromium.execute_script("return document.getElementById('timeline-1').data[0].customdata[0][2]")
    assert shown == [102, "AU01 Inner Brow Raiser, from 0.50"]


def test_report_prints_every_plot_dark_on_white_and_is_as_before_afterwards(chromium, report):
    open_page(chromium, report.as_uri(), dark=True)
    chromium.execute_script(
        "addEventListener('beforeprint', () => { window.printed = {"
        "plots: document.querySelectorAll('.plot .main-svg .xaxislayer-above').length,"
        "widths: [...new Set([...document.querySelectorAll('.plot')].map(p => p._fullLayout.width))],"
        "colour: document.querySelector('#detection-1 .xtick text').style.fill,"
        "dots: new Set(document.getElementById('map').data[0].marker.color).size}; });"
    )
    chromium.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    printed = chromium.execute_script("return window.printed")
    assert printed == {"plots": 13, "widths": [680], "colour": "rgb(26, 36, 44)", "dots": 2}
    colour = "return document.querySelector('#detection-1 .xtick text').style.fill"
    wait(lambda: chromium.execute_script(colour) == "rgb(230, 236, 239)", "the screen's colours again")
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert backgrounds(chromium) == "rgb(255, 255, 255)"
    hidden = "return ['nav', '#theme'].map(name => getComputedStyle(document.querySelector(name)).display)"
    assert chromium.execute_script(hidden) == ["none", "none"]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert chromium.get_log("browser") == []


@pytest.fixture
def viewer(chromium, stored, features, tmp_path):
    """The viewer, opened; downloads go to tmp_path."""
    with ViewerServer(ViewerClips(features, stored)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
        chromium.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        open_page(chromium, server.url)
        wait(lambda: shown(chromium) == 0, "the first face is drawn")
        yield server
        chromium.execute_script("sessionStorage.clear(); localStorage.clear()")
        chromium.get("about:blank")
        server.shutdown()


def shown(driver):
    row = driver.execute_script("return document.getElementById('face').dataset.row")
    return None if row is None else int(row)


def lane_canvas(driver, number):
    from selenium.webdriver.common.by import By

    canvas = driver.find_elements(By.CSS_SELECTOR, ".lane canvas")[number]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    return canvas


def drag(driver, canvas, start, end):
    """Press at a share of the canvas's width, move and let go at another."""
    from selenium.webdriver import ActionChains

    width = canvas.size["width"]
    actions = ActionChains(driver, duration=20).move_to_element_with_offset(canvas, round((start - 0.5) * width), 0)
    actions = actions.click_and_hold()
    if end != start:
        actions = actions.move_by_offset(round((end - start) * width), 0)
    actions.release().perform()


def keys(driver, *names):
    from selenium.webdriver import ActionChains

    ActionChains(driver, duration=0).send_keys(*names).perform()


def pixels(driver, selector):
    """Return the mean of a canvas's colours, 0..255."""
    script = (
        "const from = document.querySelector(arguments[0]), {width, height} = from;"
        "const copy = new OffscreenCanvas(width, height), context = copy.getContext('2d', {willReadFrequently: true});"
        "context.drawImage(from, 0, 0);"
        "const data = context.getImageData(0, 0, width, height).data;"
        "return [...data].filter((v, i) => i % 4 < 3).reduce((a, b) => a + b, 0) / (width * height * 3)"
    )
    return driver.execute_script(script, selector)


def test_viewer_draws_the_face_and_the_curves(chromium, viewer):
    first = pixels(chromium, "#face")
    assert 20 < first < 200 and pixels(chromium, ".lane canvas") > 0
    chromium.execute_script("document.getElementById('forward').click()")
    wait(lambda: shown(chromium) == 1, "the next frame")
    assert pixels(chromium, "#face") < 5  # no face there
    check_quiet(chromium, viewer.url)


def test_viewer_says_at_the_curves_what_they_are(chromium, viewer):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    buttons = texts(chromium, "#lanes button")
    assert buttons[0].startswith("AU01 Inner Brow Raiserpresent from 0.50") and "present from" not in buttons[1]
    assert chromium.find_element(By.ID, "source").text == "AUs come from a head of 'tclr fit-au'."
    ActionChains(chromium, duration=0).move_to_element(lane_canvas(chromium, 0)).perform()
    tip = chromium.find_element(By.CSS_SELECTOR, ".tip")
    wait(lambda: tip.is_displayed(), "the pointer is on the curve")
    assert tip.text.startswith("frame 119, 0.760 s, 0.47, labelled ")
    number = chromium.find_element(By.CSS_SELECTOR, "#lanes output")
    bold = "return document.querySelector('#lanes output').classList.contains('present')"
    assert not chromium.execute_script(bold) and number.text == "0.00"
    chromium.execute_script("document.getElementById('scrub').value = 30")
    chromium.execute_script("document.getElementById('scrub').dispatchEvent(new Event('input'))")
    assert chromium.execute_script(bold) and number.text == "0.75"
    assert pixels(chromium, "#axis") > 0
    assert chromium.execute_script("return document.getElementById('face').clientWidth") > 300


def test_viewer_of_a_store_without_crops_moves_through_the_curves(chromium, make_store, make_features, tmp_path):
    from selenium.webdriver.common.by import By

    store = make_store(tmp_path / "store", n_subjects=1, n_frames=6, frames=False)
    with ViewerServer(ViewerClips(make_features(store, tmp_path / "features"), store)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        open_page(chromium, server.url)
        where, told = (chromium.find_element(By.ID, name) for name in ("where", "no-crops"))
        wait(lambda: "frame 100 (1 of 6)" in where.text, "the clip is open")
        assert told.is_displayed() and not chromium.find_element(By.ID, "face").is_displayed()
        chromium.execute_script("document.getElementById('forward').click()")
        wait(lambda: "frame 101 (2 of 6)" in where.text, "the next row")
        assert pixels(chromium, ".lane canvas") > 0
        check_quiet(chromium, server.url)
        chromium.get("about:blank")
        server.shutdown()


def test_viewer_goes_where_curve_slider_and_keys_say(chromium, viewer):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    drag(chromium, lane_canvas(chromium, 0), 0.5, 0.5)
    wait(lambda: shown(chromium) == 19, "the middle of 0 to 39")
    assert "frame 119 (20 of 40), 0.760 s, ok" in chromium.find_element(By.ID, "where").text
    keys(chromium, Keys.ARROW_RIGHT)
    wait(lambda: shown(chromium) == 20, "an arrow key: one frame")
    keys(chromium, Keys.END)
    wait(lambda: shown(chromium) == 39, "the last frame, of another sprite")
    slider = chromium.find_element(By.ID, "scrub")
    slider.send_keys(Keys.ARROW_DOWN)
    wait(lambda: shown(chromium) == 38, "the slider's own key")
    assert chromium.find_element(By.ID, "au").text == "AU01 Inner Brow Raiser"
    assert slider.get_attribute("aria-valuetext").startswith("frame 138 (39 of 40)")
    drag(chromium, slider, 0.25, 0.25)
    wait(lambda: shown(chromium) in (9, 10), "a click on the slider")
    assert chromium.get_log("browser") == []


def test_viewer_plays_in_time_and_stops_at_the_end(chromium, viewer):
    from selenium.webdriver.common.by import By

    keys(chromium, " ")
    assert chromium.find_element(By.ID, "play").text == "Pause"
    wait(lambda: shown(chromium) > 3, "it plays")
    wait(lambda: chromium.find_element(By.ID, "play").text == "Play", "it ends")
    assert shown(chromium) == 39


def test_viewer_marks_events_by_drag_and_keys_and_saves_them(chromium, viewer, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    drag(chromium, lane_canvas(chromium, 1), 0.25, 0.75)  # AU12, rows 9 to 29 of 39 steps
    keys(chromium, Keys.HOME, Keys.ARROW_UP, "i", Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, "o")
    rows = chromium.find_elements(By.CSS_SELECTOR, "#events tbody tr")
    assert [row.text.split()[1] for row in rows] == ["AU12", "AU01"]
    rows[0].find_element(By.TAG_NAME, "input").send_keys("iao")  # letters, no marks
    chromium.find_element(By.ID, "export").click()
    path = tmp_path / "events.csv"
    wait(lambda: path.exists() and path.stat().st_size, "the file is saved")
    by_au = {row["AU"]: row for row in csv.DictReader(path.open())}
    assert (by_au["AU01"]["start_frame"], by_au["AU01"]["end_frame"]) == ("100", "102") and len(by_au) == 2
    assert abs(int(by_au["AU12"]["start_frame"]) - 109) <= 1 and abs(int(by_au["AU12"]["end_frame"]) - 129) <= 1
    assert by_au["AU12"]["note"] == "iao"
    chromium.refresh()
    rows = wait(lambda: chromium.find_elements(By.CSS_SELECTOR, "#events tbody tr"), "events outlast a reload")
    rows[1].find_elements(By.TAG_NAME, "button")[1].click()
    assert len(chromium.find_elements(By.CSS_SELECTOR, "#events tbody tr")) == 1
    assert chromium.get_log("browser") == []


def test_viewer_filters_and_opens_clips(chromium, viewer):
    from selenium.webdriver.common.by import By

    def listed():
        return [item.text.splitlines()[0] for item in chromium.find_elements(By.CSS_SELECTOR, "#clips li")]

    assert listed() == ["F001/T1", "F001/T2", "F002/T1", "F002/T2"]
    field = chromium.find_element(By.NAME, "share_ok")
    field.clear()
    field.send_keys("98")  # every clip has 97.5 %
    assert listed() == [] and chromium.find_element(By.ID, "count").text == "0 of 4 clips."
    field.clear()
    field.send_keys("97")
    chromium.find_element(By.NAME, "text").send_keys("f002")
    assert listed() == ["F002/T1", "F002/T2"]
    chromium.find_elements(By.CSS_SELECTOR, "#clips button")[1].click()
    wait(lambda: chromium.find_element(By.ID, "title").text == "F002/T2", "the clip opens")
    assert chromium.find_element(By.CSS_SELECTOR, "#clips [aria-current]").text.startswith("F002/T2")
    for name, above in (("sharpness", "51"), ("face_px", "3")):
        field = chromium.find_element(By.NAME, name)
        field.clear()
        field.send_keys(above)
        assert listed() == []
        field.clear()


def test_viewer_zooms_the_curves(chromium, viewer):
    from selenium.webdriver.common.by import By

    span = chromium.find_element(By.ID, "span")
    assert span.text == "the whole clip"
    keys(chromium, "+")
    assert span.text == "0.0 to 0.8 s"
    drag(chromium, lane_canvas(chromium, 0), 0.5, 0.5)
    wait(lambda: shown(chromium) == 9, "half of half the clip")
    keys(chromium, "-")
    assert span.text == "the whole clip"


def test_viewer_fits_a_phone_in_the_dark_and_names_its_parts(chromium, viewer):
    open_page(chromium, viewer.url, dark=True, device=PHONE)
    wait(lambda: shown(chromium) == 0, "the face is drawn")
    assert backgrounds(chromium) == "rgb(18, 24, 28)" and overflow_px(chromium) == 0
    unnamed = chromium.execute_script(
        "return [...document.querySelectorAll('button, input, select, canvas')].filter(e => !(e.textContent.trim() || "
        "e.ariaLabel || e.labels?.[0]?.textContent.trim())).map(e => e.outerHTML)"
    )
    assert unnamed == []
