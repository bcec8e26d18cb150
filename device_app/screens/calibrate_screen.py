from kivy.uix.screenmanager import Screen
class CalibrateScreen(Screen):
    def __init__(self, instrument, **kw):
        super().__init__(**kw)
    def refresh_picture(self): pass
    def refresh_state(self, h, n): pass
