;;; mailsync-groups-test.el --- Every kind of group: back end, event, count and screen  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Gnus and a real Dovecot.  What happens to a folder comes as the
;; core would tell it; what is compared is Gnus's count and the lines of
;; *Group*, as a user reads them.

;;; Code:

(require 'mailsync-gnus-test-helper)
(require 'gnus-topic)

(defvar gnus-topic-alist)
(defvar gnus-topic-topology)

;;;; What a user sees

(defun mailsync-groups-test--screen ()
  "The text of *Group*, the servers' name left out."
  (with-current-buffer gnus-group-buffer
    (string-replace (concat "+" mailsync-gnus-test--name ":") ":"
                    (buffer-substring-no-properties (point-min) (point-max)))))

(defun mailsync-groups-test--lines ()
  "The lines of *Group*, without what surrounds each."
  (split-string (mailsync-groups-test--screen) "\n" t "[ \t]+"))

(defun mailsync-groups-test--topics (topology &rest alist)
  "Show topics as TOPOLOGY has them, with the groups of ALIST in them."
  (setq gnus-topic-topology topology
        gnus-topic-alist alist)
  (with-current-buffer gnus-group-buffer
    (gnus-topic-mode 1)
    (gnus-group-list-groups 5)))

(defun mailsync-groups-test--fold (topic)
  "Fold TOPIC, as the user does."
  (with-current-buffer gnus-group-buffer
    (gnus-topic-jump-to-topic topic)
    (gnus-topic-hide-topic)))

(defmacro mailsync-groups-test--with-topics (&rest body)
  "Evaluate BODY where the groups a, b and c are in nested topics.
a is in a topic in that of b, which is in that of c."
  `(mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001" "INBOX")
     (let ((a (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (b (mailsync-gnus-test--group 'nnmaildir "folder001"))
           (c (mailsync-gnus-test--group 'nnmaildir "INBOX")))
       (unwind-protect
           (progn
             (mailsync-groups-test--topics
              '(("Gnus" visible) (("mail" visible) (("lists" visible))))
              (list "lists" a) (list "mail" b) (list "Gnus" c))
             ,@body)
         (with-current-buffer gnus-group-buffer (gnus-topic-mode -1))
         (setq gnus-topic-alist nil
               gnus-topic-topology nil
               gnus-group-change-level-function nil
               gnus-goto-missing-group-function nil)))))

(ert-deftest mailsync-groups-test-topics ()
  "The counts of topics follow, those of folded ones and of parents too.
A folded topic stays so."
  (mailsync-groups-test--with-topics
   (cl-flet ((expect (&rest lines)
               (should (equal (mailsync-groups-test--lines) lines)))
             (deliver ()
               (mailsync-gnus-test--deliver "folder000")
               (mailsync-gnus-test--check
                (mailsync-gnus-test--change "folder000" 'new))))
     (expect "[ Gnus -- 8 ]" "2: nnmaildir:INBOX" "[ mail -- 6 ]"
             "4: nnmaildir:folder001" "[ lists -- 2 ]" "2: nnmaildir:folder000")
     (deliver)
     (expect "[ Gnus -- 9 ]" "2: nnmaildir:INBOX" "[ mail -- 7 ]"
             "4: nnmaildir:folder001" "[ lists -- 3 ]" "3: nnmaildir:folder000")
     (mailsync-groups-test--fold "lists")
     (deliver)
     (expect "[ Gnus -- 10 ]" "2: nnmaildir:INBOX" "[ mail -- 8 ]"
             "4: nnmaildir:folder001" "[ lists -- 4 ]...")
     (mailsync-groups-test--fold "mail")
     (deliver)
     (expect "[ Gnus -- 11 ]" "2: nnmaildir:INBOX" "[ mail -- 9 ]...")
     (mailsync-gnus-test--mark-seen (car (mailsync-gnus-test--unseen "folder000")))
     (let ((mailsync-gnus--echo 0))
       (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags)))
     (expect "[ Gnus -- 10 ]" "2: nnmaildir:INBOX" "[ mail -- 8 ]...")
     ;; Gnus agrees.
     (with-current-buffer gnus-group-buffer
       (gnus-group-list-groups 5))
     (expect "[ Gnus -- 10 ]" "2: nnmaildir:INBOX" "[ mail -- 8 ]...")
     (should-not (cl-find-if (lambda (line) (string-match-p "topics" line))
                             mailsync-gnus-test--log)))))

(ert-deftest mailsync-groups-test-topics-point ()
  "Point stays on the line of a topic that is written anew, in each window."
  (mailsync-groups-test--with-topics
   (switch-to-buffer gnus-group-buffer)
   (delete-other-windows)
   (let* ((window (selected-window))
          (other (split-window))
          (deliver (lambda ()
                     (mailsync-gnus-test--deliver "folder000")
                     (mailsync-gnus-test--check
                      (mailsync-gnus-test--change "folder000" 'new)))))
     (unwind-protect
         (progn
           (gnus-topic-jump-to-topic "mail")
           (forward-char 5)
           (with-selected-window other
             (gnus-topic-jump-to-topic "lists")
             (forward-char 3))
           (cl-flet ((place (window)
                       (with-selected-window window
                         (list (get-text-property (line-beginning-position)
                                                  'gnus-topic)
                               (current-column)))))
             (let ((before (list (place window) (place other))))
               (should (equal (mapcar #'car before) '("mail" "lists")))
               (funcall deliver)
               (should (equal (list (place window) (place other)) before))
               (should (member "[ lists -- 3 ]" (mailsync-groups-test--lines))))))
       (delete-window other)))))

(provide 'mailsync-groups-test)
;;; mailsync-groups-test.el ends here
