;;; mailsync-misbehaviour-test.el --- Functions of the user's that do what they like  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Whatever a function does that mailsync calls for the user: the stream goes on,
;; others are told, and what changed is checked.  What such a function can do is a
;; table, and where it can do it is another.  In each run a part of all that is tried;
;; with ROUNDS in the environment, as `make torture' has it, each with each.

;;; Code:

(require 'mailsync-sync-test-helper)

(defvar misbehaviour-test-root nil "Where the maildir is.")

(defconst misbehaviour-test-deeds
  `((signals . ,(lambda () (error "On purpose")))
    (signals-a-symbol-of-its-own . ,(lambda () (signal 'misbehaviour-test '(1 2))))
    (quits . ,(lambda () (signal 'quit nil)))
    (is-quit . ,(lambda () (setq quit-flag t) (while t)))
    (is-quit-by-three . ,(lambda () (setq inhibit-quit nil quit-flag t) (ignore (list 1))))
    (throws . ,(lambda () (throw 'misbehaviour-test nil)))
    (throws-to-nobody . ,(lambda () (throw 'misbehaviour-test-nobody nil)))
    (takes-its-time . ,(lambda () (sleep-for 0.3)))
    (waits-for-others . ,(lambda () (accept-process-output nil 0.2)))
    (reads-an-event . ,(lambda () (read-event nil nil 0.1)))
    (forbids-to-quit . ,(lambda () (setq inhibit-quit t)))
    (sets-the-match-data . ,(lambda () (set-match-data (list 0 1 5 7)) (string-match "x" "yxz")))
    (goes-elsewhere . ,(lambda () (set-buffer (get-buffer-create "*misbehaviour*")) (erase-buffer)))
    (narrows . ,(lambda ()
                  (with-current-buffer (mailsync-log--get) (narrow-to-region 1 1))
                  (widen) (narrow-to-region (point) (point))))
    (kills-the-log . ,(lambda ()
                        (when (get-buffer mailsync-log--buffer)
                          (kill-buffer mailsync-log--buffer))))
    (kills-its-buffer . ,(lambda () (with-temp-buffer (kill-buffer))))
    (deletes-the-process . ,(lambda () (delete-process mailsync--pipe)))
    (deletes-all-processes . ,(lambda () (mapc #'delete-process (process-list))))
    (collects-garbage . ,(lambda () (garbage-collect)))
    (asks-for-more . ,(lambda () (mailsync-sync "w") (mailsync-check) (mailsync-pause) (mailsync-resume)))
    (changes-its-argument . ,(lambda () nil))
    (restarts . ,(lambda () (mailsync-restart)))
    (stops-and-starts . ,(lambda () (mailsync-stop) (mailsync-start)))
    (stops . ,(lambda () (mailsync-stop))))
  "What a function can do.")

(defconst misbehaviour-test-ends
  '(signals signals-a-symbol-of-its-own throws throws-to-nobody changes-its-argument)
  "Deeds after which nothing else is done by who did them.")

(defvar misbehaviour-test-deed nil "What is to be done once, or nil.")
(defvar misbehaviour-test-in-syncer nil "Non-nil if the syncer is to do it.")
(defvar misbehaviour-test-done 0 "How often something was done.")

(defun misbehaviour-test-do (&rest args)
  "Do what is to be done; spoil ARGS."
  (when misbehaviour-test-deed
    (let ((deed misbehaviour-test-deed))
      (setq misbehaviour-test-deed nil
            misbehaviour-test-done (1+ misbehaviour-test-done))
      (when (and (eq deed (alist-get 'changes-its-argument misbehaviour-test-deeds))
                 (consp (cadr args)))
        (setcdr (cadr args) nil))
      (funcall deed)
      nil)))

(defun misbehaviour-test-syncer (_account &rest keys)
  "A syncer that describes itself anew before each run, with KEYS then."
  (when (and (plist-member keys :folders) misbehaviour-test-in-syncer)
    (misbehaviour-test-do))
  (list :command (list "true" "%f") :per-run t))

(defun misbehaviour-test-well (account changes done)
  "Take note of CHANGES of ACCOUNT and call DONE."
  (test-note-changes account changes)
  (funcall done (mapcar (lambda (change) (cons (plist-get change :folder) 'checked)) changes)
           changes))

(defun misbehaviour-test-check (account changes done)
  "Do what is to be done, then take note of CHANGES of ACCOUNT and call DONE."
  (misbehaviour-test-do account changes done)
  (misbehaviour-test-well account changes done))

(defun misbehaviour-test-check-after (account changes done)
  "Call DONE for CHANGES of ACCOUNT, then do what is to be done."
  (misbehaviour-test-well account changes done)
  (misbehaviour-test-do))

(defconst misbehaviour-test-places
  '((mailsync-changed-functions)
    (mailsync-new-mail-functions)
    (mailsync-before-sync-functions)
    (mailsync-after-sync-functions)
    (mailsync-started-functions)
    (mailsync-state-change-functions)
    (mailsync-check-function . misbehaviour-test-check)
    (mailsync-check-function . misbehaviour-test-check-after)
    (syncer)
    (callback))
  "Where it can do it: a hook, or a variable and a function for it, or else.")

(defun misbehaviour-test-awaited (condition)
  "Wait until CONDITION is met, which may be left by a throw."
  (let ((end (+ (float-time) 15)) value)
    (while (and (not (catch 'misbehaviour-test
                       (setq value (funcall condition))
                       (accept-process-output nil 0.02)
                       value))
                (< (float-time) end)))
    value))

(defun misbehaviour-test-goes-on ()
  "Non-nil if what changes now is told, checked and synced, and nothing waits."
  (setq test-changes nil)
  (let ((folder (expand-file-name ".a" misbehaviour-test-root))
        (synced nil))
    (test-deliver folder)
    (and (misbehaviour-test-awaited (lambda () (test-changed "a")))
         (misbehaviour-test-awaited
          (lambda ()
            (and (zerop (mailsync--pending))
                 (null (mailsync--not-asked))
                 (null mailsync--taken))))
         (progn
           (mailsync-sync "w" nil (lambda (result) (setq synced (plist-get result :status))))
           (misbehaviour-test-awaited (lambda () (eq synced 'ok)))))))

(defun misbehaviour-test-try (name place)
  "Have the deed NAME be done at PLACE; return what is wrong then."
  (pcase-let ((`(,variable . ,function) place))
    (let* ((mailsync-check-function #'misbehaviour-test-well)
           (misbehaviour-test-in-syncer (eq variable 'syncer))
           (mailsync-changed-functions nil)
           (mailsync-new-mail-functions nil)
           (mailsync-before-sync-functions nil)
           (mailsync-after-sync-functions nil)
           (mailsync-started-functions nil)
           (mailsync-state-change-functions nil)
           (mailsync--breaks nil)
           (misbehaviour-test-deed nil)
           (misbehaviour-test-done 0)
           (told 0)
           (note (lambda (&rest _) (setq told (1+ told)))))
      (mailsync--once-clear)
      (cond
       (function (set variable function))
       ;; Another function is told as well.
       ((boundp variable) (set variable (list #'misbehaviour-test-do note))))
      (catch 'misbehaviour-test
        (mailsync-start))
      (misbehaviour-test-awaited (lambda () (eq (test-state "w") 'watching)))
      (setq misbehaviour-test-deed (alist-get name misbehaviour-test-deeds)
            test-changes nil)
      (test-deliver misbehaviour-test-root)
      (catch 'misbehaviour-test
        (pcase variable
          ('callback (mailsync-sync "w" nil (lambda (_) (misbehaviour-test-do))))
          ((or 'mailsync-started-functions 'mailsync-state-change-functions)
           (mailsync-stop)
           (mailsync-start))))
      (let ((done (misbehaviour-test-awaited (lambda () (= 1 misbehaviour-test-done)))))
        (setq misbehaviour-test-deed nil)
        (when (memq name '(stops throws))
          (misbehaviour-test-awaited (lambda () t))
          (catch 'misbehaviour-test (mailsync-start)))
        (delq nil
              (list (unless done 'not-done)
                    ;; A check that ends in an error, or by a throw, has been one.
                    (unless (or (and (eq function #'misbehaviour-test-check)
                                     (memq name misbehaviour-test-ends))
                                (misbehaviour-test-awaited
                                 (lambda () (test-changed "INBOX"))))
                      'not-checked)
                    (unless (misbehaviour-test-goes-on) 'does-not-go-on)
                    (when (and (boundp variable) (null function) (= told 0)
                               ;; These happen once in a start.
                               (not (memq variable '(mailsync-started-functions
                                                     mailsync-state-change-functions))))
                      'others-are-not-told)
                    (when (or inhibit-quit quit-flag) 'quit-flag)
                    (when (buffer-narrowed-p) 'narrowed)))))))

(ert-deftest misbehaviour-test-all ()
  "Whatever a function does, wherever it is called, mailsync goes on."
  (define-error 'misbehaviour-test "Of its own")
  (let* ((misbehaviour-test-root (file-truename (make-temp-file "mailsync-misbehaviour" t)))
         (mailsync-coalesce-delay 0.01)
         (mailsync-base-delay 0)
         (mailsync-inter-delay 0.01)
         (mailsync-check-timeout 1)
         (mailsync--quit-pause 0.05)
         (mailsync--doubt-delay 0.05)
         (inhibit-message t)
         (test-changes nil)
         (mailsync-accounts
          (list (list "w" :maildir misbehaviour-test-root :syncer #'misbehaviour-test-syncer)))
         (wrong nil))
    (test-maildir misbehaviour-test-root)
    (test-maildir (expand-file-name ".a" misbehaviour-test-root))
    (unwind-protect
        (with-temp-buffer
          (cl-loop
           for (name . _) in misbehaviour-test-deeds for row from 0
           do (cl-loop
               for place in misbehaviour-test-places for column from 0
               when (or (getenv "ROUNDS") (= 0 (mod (+ row column) 5)))
               do (when-let ((what (misbehaviour-test-try name place)))
                    (push (list name place what) wrong))))
          (should-not wrong))
      (mailsync-mode -1)
      (test-wait (lambda () (zerop (mailsync-module--threads))))
      (delete-directory misbehaviour-test-root t))))

(provide 'mailsync-misbehaviour-test)
;;; mailsync-misbehaviour-test.el ends here
